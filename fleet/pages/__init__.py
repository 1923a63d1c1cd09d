"""Pages of the fleet. Each view reaches its row by `visible_or_404`, has the page gathered, and answers.

`current_rev()` is read before any row, so that the page's socket asks for everything later than what it shows.
"""
