"""How sure, and how rightly so: what is fitted on validation rows, and measured on test rows."""
