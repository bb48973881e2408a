"""The local cloud: the deployed functions, unchanged, on real servers installed by `pip`."""
