"""Answers of models as the page shows them: indexed, paired, filtered, compared."""
