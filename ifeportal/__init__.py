"""The portal: users and access, jobs, the change feed, the web server and what pages and API share."""
