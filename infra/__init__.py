"""Everything with a socket, a file, a clock or an environment variable."""
