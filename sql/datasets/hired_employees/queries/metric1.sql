-- Employees hired for each job and department in a year, by quarter.
-- Departments and jobs are sorted by name, in byte order; quarters are in UTC.
-- param year integer = 2021 (1900..2200): The year.
-- draw: bar x=department y=Q1,Q2,Q3,Q4 label=employees_hired
SELECT
    department,
    job,
    count(*) FILTER (WHERE quarter = 1) AS "Q1",
    count(*) FILTER (WHERE quarter = 2) AS "Q2",
    count(*) FILTER (WHERE quarter = 3) AS "Q3",
    count(*) FILTER (WHERE quarter = 4) AS "Q4"
FROM hired_employees
JOIN departments ON departments.id = department_id
JOIN jobs ON jobs.id = job_id,
    LATERAL (SELECT date_part('quarter', hired_at AT TIME ZONE 'UTC') AS quarter) AS moment
WHERE hired_at >= make_timestamptz(:year, 1, 1, 0, 0, 0, 'UTC')
    AND hired_at < make_timestamptz(:year + 1, 1, 1, 0, 0, 0, 'UTC')
GROUP BY department, job
ORDER BY department COLLATE "C", job COLLATE "C"
