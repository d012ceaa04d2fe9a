ALTER TABLE workers DROP COLUMN engine_problem, DROP COLUMN firewall, DROP COLUMN firewall_problem;
