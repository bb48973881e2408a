"""The local cloud: the deployed functions, unchanged, on real parts that `pip` brings."""
