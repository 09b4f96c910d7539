"""The leaderboard of a results folder: one page (HTML), one table (CSV) or one text (Markdown). No torch.

`sources`     a folder or a scores table: its numbers, and what its files say of the runs that made them
`rows`        variants of SAEs, their L0, and bands of like L0
`columns`     metrics, never two versions, settings or data sets in one; which are shown first, and what a metric's card says
`blanks`      why there is no number
`board`       all of it, put together
`page_data`   the board as the page reads it; `html` puts the page together, from the files in `page/`
`markdown`, `csv_rows`    the board as text
`write`       `hedgebench.leaderboard`
"""
