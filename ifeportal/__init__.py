"""The portal: users and access, jobs, the change feed, the web server, and code shared by pages and API."""
