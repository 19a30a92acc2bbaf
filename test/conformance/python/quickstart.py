"""A program as the Python quickstart of Azure Key Vault secrets has it: the default credential, the
address of the vault in the code, and no other option. It prints what it did."""

from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

URL = "https://contoso-payroll.vault.azure.net"
NAME = "quickstart-python"
VALUE = "created with Python"

client = SecretClient(vault_url=URL, credential=DefaultAzureCredential())

print("set", client.set_secret(NAME, VALUE).name)
print("got", client.get_secret(NAME).value)
for properties in client.list_properties_of_secrets():
    if properties.name == NAME:
        print("listed", properties.name)
client.begin_delete_secret(NAME).wait()
print("deleted", NAME)
client.begin_recover_deleted_secret(NAME).wait()
print("recovered", NAME)
client.begin_delete_secret(NAME).wait()
client.purge_deleted_secret(NAME)
print("purged", NAME)
