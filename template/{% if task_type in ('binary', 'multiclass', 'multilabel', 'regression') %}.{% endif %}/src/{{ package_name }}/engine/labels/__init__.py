"""Labels that people give: handed out, taken back, compared, doubted."""
