-- For PostgreSQL, which has no NOCASE; the same index serves SQLite.
CREATE UNIQUE INDEX one_account_of_an_email ON accounts (lower(email));
