-- The departments that hired more employees in a year than all departments did on average.
-- The mean includes departments without hires; the year is in UTC.
-- param year integer = 2021 (1900..2200): The year.
-- draw: bar x=department y=hired label=employees_hired
WITH hires AS (
    SELECT departments.id, department, count(hired_employees.id) AS hired
    FROM departments
    LEFT JOIN hired_employees ON department_id = departments.id
        AND hired_at >= make_timestamptz(:year, 1, 1, 0, 0, 0, 'UTC')
        AND hired_at < make_timestamptz(:year + 1, 1, 1, 0, 0, 0, 'UTC')
    GROUP BY departments.id, department
)
SELECT id, department, hired
FROM hires
WHERE hired > (SELECT avg(hired) FROM hires)
ORDER BY hired DESC, id
