"""What one record does to one weapon: guards that refuse, and transitions that write the next document.

They read nothing but the weapon's document, the record and, for an answer to an offer, that offer. So the same functions
serve the ledger's rules (`ledger.state.rules`) and the derivation of a document from its history alone
(`ledger.state.replay`). Guards raise RuleError; a transition may be called only where its guard let pass.
"""
