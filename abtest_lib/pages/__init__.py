"""The pages about experiments that Airflow shows, as plain data and as HTML; who may see them is Airflow's affair.

fleet        the list of experiments: verdict, health, next date, most urgent first
nights       one experiment: its nights and revisions
comparison   what differs between two nights, or two revisions of one
previews     which verdicts would change
store        looks things up by names that came from an address
places       the addresses, for links between the pages

Nothing here asks the warehouse or the clock.
"""
