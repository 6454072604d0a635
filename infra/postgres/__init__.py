"""PostgreSQL: the log, the work table, the manifest, the views, the directory."""
