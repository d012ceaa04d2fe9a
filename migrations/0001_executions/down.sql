DROP TABLE execution_files;
DROP TABLE blobs;
DROP TABLE executions;
DROP TABLE workers;
DROP TABLE deployment;
