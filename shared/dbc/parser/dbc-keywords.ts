/** The words that begin a statement of a DBC file. */

/** Statements that end in ";" and say nothing that is needed here. */
export const skipped = new Set([
  'NS_DESC_',
  'CAT_DEF_',
  'CAT_',
  'FILTER',
  'EV_',
  'EV_DATA_',
  'ENVVAR_DATA_',
  'SGTYPE_',
  'SGTYPE_VAL_',
  'BA_DEF_SGTYPE_',
  'BA_SGTYPE_',
  'SIG_TYPE_REF_',
  'SIG_GROUP_',
  'SIGTYPE_VALTYPE_',
  'BO_TX_BU_',
  'BA_DEF_REL_',
  'BA_REL_',
  'BA_DEF_DEF_REL_',
  'BU_SG_REL_',
  'BU_EV_REL_',
  'BU_BO_REL_',
]);

/** Statements that are read; those of `skipped` as well. */
export const keywords = new Set([
  ...['VERSION', 'NS_', 'BS_', 'BU_', 'BO_', 'SG_', 'CM_', 'VAL_', 'VAL_TABLE_', 'BA_', 'BA_DEF_', 'BA_DEF_DEF_'],
  ...['SIG_VALTYPE_', 'SG_MUL_VAL_'],
  ...skipped,
]);
