-- Employees as stored.
CREATE TABLE store.hired_employees (
    hired_at timestamptz NOT NULL,
    id integer NOT NULL CONSTRAINT hired_employees_pk PRIMARY KEY,
    department_id integer NOT NULL,
    job_id integer NOT NULL,
    ingestion integer NOT NULL,
    name text NOT NULL
);
-- The metrics read one year each.
CREATE INDEX hired_employees_hired_at ON store.hired_employees (hired_at);
