"""`audit`: everything that can be wrong with a data set for chat training, with the rows; as text, JSON and an HTML page."""

from spanmask.data.audit.report import AuditReport, Finding, Sample
from spanmask.data.audit.run import audit

__all__ = ["AuditReport", "Finding", "Sample", "audit"]
