"""What metrics are made of: one module a family of answers, and the table that names them all."""
