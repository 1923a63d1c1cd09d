"""HTTP for pages and programs alike: middleware, error responses, health checks, static files, the shared cache."""
