"""Local files as rows: JSON, CSV and Parquet, whole or in shards, each row with its place."""

from mathtune.problems.files.find import ENDINGS, data_files
from mathtune.problems.files.read import read_rows
from mathtune.problems.files.row import Row

__all__ = ["ENDINGS", "Row", "data_files", "read_rows"]
