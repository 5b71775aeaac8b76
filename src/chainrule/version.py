"""The version of this package: of what writes a file, whoever reads it later can say."""

__version__ = "0.1.0"
