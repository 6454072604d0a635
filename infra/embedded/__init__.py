"""The servers Haulage brings itself: a real PostgreSQL and a real NATS server, for one machine.

Read `infra/servers.py` first, which starts, finds, keeps and stops them; then `home.py` (what a home holds), `users.py`
(who uses its servers), `quarters.py` (as whom, from where and on which folders they run), `process.py` (how a server is
detached, recognised and ended) and the two servers.
"""
