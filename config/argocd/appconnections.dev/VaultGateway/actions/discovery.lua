return {refresh = {disabled = false}}
