"""Pages of uploads: the list, the forms, and the element that sends files from a browser."""
