-- Departments as stored.
CREATE TABLE store.departments (
    id integer NOT NULL CONSTRAINT departments_pk PRIMARY KEY,
    ingestion integer NOT NULL,
    department text NOT NULL
);
