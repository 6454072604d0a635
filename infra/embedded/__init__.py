"""The PostgreSQL and NATS servers Haulage starts when no URL is set."""
