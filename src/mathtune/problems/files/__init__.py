"""Local files as rows: JSON, CSV and Parquet, whole or in shards, each row with its place."""

from mathtune.problems.files.find import ENDINGS, data_files
from mathtune.problems.files.read import read_rows
from mathtune.problems.files.row import SourceRow

__all__ = ["ENDINGS", "SourceRow", "data_files", "read_rows"]
