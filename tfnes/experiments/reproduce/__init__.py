"""The tables and figures of Berliner et al. (2022), each by one command.

* `studies`: which there are, by name.
* `study`: what a table or a figure is: runs, a rule for further runs, a report.
* `runs`: one run of training, or of a function, in a process and directory of its own.
* `runner`: makes the runs: skips, resumes, in parallel, goes on when one fails.
* `processes`, `preloaded`: processes of runs, with the libraries imported only once.
* `worker`: the process that calls one function.
* `search`: settings tried with one seed, all seeds at the best.
* `report`: results as JSON, Markdown and pictures.
* `curves`: line plots.
* `images`: what the studies of the unstructured VAE share (Appendix B).
* `figure4`, `figure3`, `table3`: the unstructured VAE.
* `table1`, `table1_settings`: latent structure recovery.
* `table2`, `table2_settings`, `parsing`, `bootstrap`: adaptation of a parser to a new
  domain.
* `figure2`, `timings`: time of an update against the size of the input.
"""
