"""`report.html`: what a person wants to know of a trained model, in one file that opens offline."""

from training.report.facts import Answer, Layer, ReportFacts
from training.report.layers import describe_layers
from training.report.writing import REPORT_NAME, write_report

__all__ = ["REPORT_NAME", "Answer", "Layer", "ReportFacts", "describe_layers", "write_report"]
