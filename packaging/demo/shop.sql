-- A small shop, as an application would have it: its own tables, and two functions that change state and
-- say so in the same transaction. The schema "outbox" must be there already (outboxd migrate).
--
--   psql -v shop_password=... -v relay_password=... -f shop.sql
--
-- Two roles, each with no more than it needs: "shop" is the application, "relay" is outboxd.

CREATE ROLE shop LOGIN PASSWORD :'shop_password';
CREATE ROLE relay LOGIN PASSWORD :'relay_password';
GRANT outbox_writer TO shop;
GRANT outbox_relay TO relay;

CREATE TABLE customer (
    id   bigint PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE item (
    sku   text PRIMARY KEY,
    price numeric(10,2) NOT NULL CHECK (price > 0)
);

CREATE TABLE orders (
    id          bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customer,
    status      text NOT NULL CHECK (status IN ('placed', 'paid')),
    version     bigint NOT NULL,
    total       numeric(10,2) NOT NULL,
    placed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    paid_at     timestamptz
);

CREATE TABLE order_line (
    order_id bigint NOT NULL REFERENCES orders,
    sku      text NOT NULL REFERENCES item,
    qty      int NOT NULL CHECK (qty > 0),
    PRIMARY KEY (order_id, sku)
);

-- The number on the customer's screen when the checkout begins; a rolled-back order leaves a gap.
CREATE SEQUENCE checkout_number;

INSERT INTO customer (id, name)
SELECT n, 'customer ' || n FROM generate_series(1, 100) AS n;

INSERT INTO item (sku, price) VALUES
    ('tea', 4.50), ('coffee', 7.20), ('honey', 6.80), ('biscuits', 2.95), ('teapot', 33.50), ('cup', 8.00);

-- Checkout: the order and the fact that it was placed, in one transaction. The correlation id names the
-- whole checkout; the cause of the order is the cart it came from.
CREATE FUNCTION place_order(checkout bigint, OUT order_id bigint, OUT event_id uuid)
LANGUAGE plpgsql AS $$
DECLARE
    lines jsonb;
    amount numeric(10,2);
BEGIN
    INSERT INTO orders (id, customer_id, status, version, total)
    VALUES (checkout, 1 + checkout % 100, 'placed', 1, 0);

    INSERT INTO order_line (order_id, sku, qty)
    SELECT checkout, i.sku, 1 + floor(random() * 3)::int
    FROM item AS i ORDER BY random() LIMIT 1 + floor(random() * 2)::int;

    SELECT sum(l.qty * i.price), jsonb_agg(jsonb_build_object('sku', l.sku, 'qty', l.qty) ORDER BY l.sku)
    INTO amount, lines
    FROM order_line AS l JOIN item AS i USING (sku) WHERE l.order_id = checkout;

    UPDATE orders SET total = amount WHERE id = checkout;

    PERFORM outbox.set_context('checkout-' || checkout, 'cart-' || checkout, NULL);
    order_id := checkout;
    event_id := outbox.emit('order.placed', 'order', checkout::text,
                            jsonb_build_object('order_id', checkout, 'customer_id', 1 + checkout % 100,
                                               'total', amount, 'items', lines),
                            aggregate_version => 1);
END $$;

-- The payment service handles the event order.placed: it hands on the correlation id and names that
-- event as the cause, for this transaction only.
CREATE FUNCTION pay_order(paid_order bigint, cause uuid) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    amount numeric(10,2);
BEGIN
    UPDATE orders SET status = 'paid', version = version + 1, paid_at = clock_timestamp()
    WHERE id = paid_order AND status = 'placed'
    RETURNING total INTO amount;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'order % is not waiting for a payment', paid_order;
    END IF;
    PERFORM outbox.set_context('checkout-' || paid_order, cause::text, NULL);
    RETURN outbox.emit('order.paid', 'order', paid_order::text,
                       jsonb_build_object('order_id', paid_order, 'amount', amount, 'method', 'card'),
                       aggregate_version => 2);
END $$;

GRANT SELECT ON customer, item TO shop;
GRANT SELECT, INSERT, UPDATE ON orders, order_line TO shop;
GRANT USAGE ON SEQUENCE checkout_number TO shop;
