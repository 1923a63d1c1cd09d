"""HTTP for pages and API: middleware, error responses, health checks, static files, the shared cache."""
