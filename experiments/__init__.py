"""How a study is run: commands, pipelines of stages, tracking, reports."""
