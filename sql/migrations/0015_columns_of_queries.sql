-- What a query depends on now includes the columns that it reads: determined again when datasets are declared, which
-- follows each migration.
UPDATE sluice.datasets SET dependencies = '{}';
