"""The routes of the systems that the product replaces, as datasets declare them."""
