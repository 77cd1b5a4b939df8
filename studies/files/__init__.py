"""Trials' files in a folder or in S3, and the attachments of the dashboard.

Imports spec and storage.
"""
