"""Certificates of the tests, made with openssl: authorities, servers and clients, good ones and those that are refused."""

import os
import subprocess


class Authority:
    """A CA, or one that another CA has signed. Files are PEM, in `directory`."""

    def __init__(self, directory, name, issuer=None):
        self.directory, self.name, self.issuer = str(directory), name, issuer
        self.key, self.file = self._path(f"{name}.key"), self._path(f"{name}.pem")
        if issuer is None:
            openssl("req", "-x509", *NEW_KEY, "-keyout", self.key, "-out", self.file, "-subj", f"/CN={name}", "-days", "2")
        else:
            issuer.sign(name, self.key, self.file, f"/CN={name}", "basicConstraints=critical,CA:TRUE")

    def _path(self, name):
        return os.path.join(self.directory, name)

    def sign(self, name, key, out, subject, extension, days=2):
        request, extensions = self._path(f"{name}.csr"), self._path(f"{name}.ext")
        openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", subject)
        with open(extensions, "w", encoding="ascii") as f:
            f.write(extension + "\n")
        openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-CAcreateserial", "-out", out, "-extfile", extensions,
                "-days", str(days))

    def issue(self, name, host=None, subject=None, days=2, chain=False):
        """(certificate, key) of a server with that host name, or of a client. chain: with the certificates between it and the root."""
        key, out = self._path(f"{name}.key"), self._path(f"{name}.crt")
        self.sign(name, key, out, f"/CN={subject or host}", f"subjectAltName=DNS:{host}" if host else "extendedKeyUsage=clientAuth", days)
        if chain:
            with open(out, "a", encoding="ascii") as f, open(self.file, encoding="ascii") as above:
                f.write(above.read())
        os.chmod(key, 0o600)
        return out, key


NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def openssl(*args):
    done = subprocess.run(["openssl", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"openssl {' '.join(args)}:\n{done.stdout}"
