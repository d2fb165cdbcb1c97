"""Where the ledger's lines and blobs lie: the only package that knows a database."""
