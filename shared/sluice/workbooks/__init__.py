"""Excel workbooks (Office Open XML) as CSV, in bounded memory: pure, of files that can be read and sought."""
