"""Reports: one HTML file that needs nothing beside it, and the same figures as JSON for machines."""

from forerun.report.data import Curve, Episode, ReportData, Row, Ticks, Verdict
from forerun.report.render import render_report

__all__ = ["Curve", "Episode", "ReportData", "Row", "Ticks", "Verdict", "render_report"]
