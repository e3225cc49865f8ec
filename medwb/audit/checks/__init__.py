"""The checks, one module an area; `CHECKS` finds a new module here by itself."""
