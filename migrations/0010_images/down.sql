ALTER TABLE executions DROP COLUMN outputs_left_out;
DROP TABLE images;
