DROP TABLE @schema@.captured_table;
