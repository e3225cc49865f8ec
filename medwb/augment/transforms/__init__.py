"""The transforms, a module a kind; a new one is one decorated function in any of them."""
