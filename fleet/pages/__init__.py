"""Pages of the fleet. Each view authorises with `visible_or_404`, then exports a file or renders a page object.

Views read `current_rev()` before any row, so that the page's socket receives every change that the page does not show.
"""
