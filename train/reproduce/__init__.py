"""Search, train and score, as often as it takes to say how sure a table is; beside the rows of others.

A line of work is one seed (and one split) of one scheme of norms: ``searched`` searches first, others take
the scheme by its name. Its jobs are commands of this project, each in a process of its own, one line per GPU at a
time. What a job makes lies in the line's folder with a note once it ended, so the same command goes on where
the last one stopped::

    OUT/<scheme>_<split>_<seed>/recipe.toml, search.toml    what the line starts from; never another once it began
    OUT/<scheme>_<split>_<seed>/search, choose, run     folders of `train.fit.run`
    OUT/<scheme>_<split>_<seed>/<job>.done, .log, figures.json
    OUT/table.md, table.tex

RegDB is searched anew on each split: people tested in one are trained on in another.
"""
