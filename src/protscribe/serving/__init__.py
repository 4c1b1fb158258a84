"""A bundle's answers over HTTP, for one machine and a group of people: typed JSON, dynamic batching, a page to look at.

:func:`protscribe.serving.run.serve` is what ``protscribe serve`` calls; :func:`protscribe.serving.app.create_app` makes the
application alone. Needs the extra ``serve``.
"""
