"""What a dataset is: column types, the model, and declarations with their checks."""
