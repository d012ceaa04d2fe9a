ALTER TABLE executions DROP COLUMN installing;

DROP TABLE environments;
